"""A calculator with its settings, as it is handed on.

An instance of a calculator carries the state of its last calculation and cannot go to another
process; how to make one can.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ase.calculators.calculator import BaseCalculator, Calculator

from asla_env import calculators
from asla_env.calculators import BatchFunction, CalculatorFactory, NamedCalculator
from asla_env.identity import content, digest, files_in, import_path, installed_version, resolve, versions_as_imported


@dataclass(frozen=True)
class CalculatorSpec:
    """A calculator with its settings: what can go to another process and be made there.

    Parameters
    ----------
    calculator : str or callable
        One of `asla_env.calculators.names`; an import path ``module:attribute`` of a class or function that makes an
        ASE calculator, such as ``"ase.calculators.emt:EMT"``; or such a class or function itself.
    settings : mapping
        Keyword arguments that it is made with.

    Raises
    ------
    ValueError
        If no calculator has this name, or a setting of a named one is impossible.
    ImportError
        If there is nothing at this import path.
    TypeError
        If it is a calculator rather than what makes one, a named calculator has no such setting, or `settings` has no
        names.
    """

    calculator: str | CalculatorFactory
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check what was given, and keep a copy of the settings."""
        if not isinstance(self.settings, Mapping):
            raise TypeError(f"`settings` is {self.settings!r} but must be keyword arguments by name")
        object.__setattr__(self, "settings", deepcopy(dict(self.settings)))
        if isinstance(self.calculator, str):
            calculators.check_name(self.calculator)
            calculators.check_settings(self.calculator, self.settings)
        factory = self._factory
        if isinstance(factory, BaseCalculator) or not callable(factory):
            raise TypeError(
                f"`calculator` is of type {type(factory).__name__} but must be a name or a function that makes an ASE "
                "calculator: a class such as `EMT`, or `lambda: EMT(...)` to set arguments"
            )

    def make(self) -> Calculator:
        """Make a new calculator.

        Raises
        ------
        ImportError
            If a library is missing.
        FileNotFoundError
            If a program or a file is missing.
        TypeError
            If what was made is no ASE calculator.
        ValueError
            If the calculator raised anything else as it was made.
        """
        try:
            calculator = self._factory(**self.settings)
        except (ImportError, OSError, TypeError, ValueError, MemoryError):
            raise
        except Exception as error:  # calculators raise what they like
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"`calculator` is {self.name!r} but cannot be made: {reason}") from error
        if not callable(getattr(calculator, "get_potential_energy", None)):
            raise TypeError(
                f"`calculator` returned an object of type {type(calculator).__name__} but must return an ASE calculator"
            )
        return calculator

    def check_species(self, symbols: Iterable[str]) -> None:
        """Check that a named calculator knows all `symbols`, and that the files it needs for them are there.

        One that is not ours is taken to know any.

        Raises
        ------
        ValueError
            If it does not know a species.
        FileNotFoundError
            If a program or a file is missing.
        """
        if self._named is None:
            return
        species, known = set(symbols), self._named.species
        foreign = sorted(species - known) if known is not None else []
        if foreign:
            raise ValueError(
                f"`symbols` has {', '.join(foreign)} but must be of the species that {self.calculator!r} knows"
            )
        if self._named.check is not None:
            self._named.check(species, **self.settings)

    @property
    def name(self) -> str:
        """Name for display."""
        if isinstance(self.calculator, str):
            return self.calculator
        made_by = self.calculator.func if isinstance(self.calculator, partial) else self.calculator
        return str(getattr(made_by, "__name__", type(made_by).__name__))

    @property
    def is_named(self) -> bool:
        """Whether it is one of `asla_env.calculators.names`."""
        return self._named is not None

    @property
    def description(self) -> str:
        """Name, settings that were given, and the `fingerprint`, if there is one: what tells it from others."""
        settings = f" with {dict(sorted(self.settings.items()))}" if self.settings else ""
        fingerprint = f" ({self.fingerprint})" if self.fingerprint is not None else ""
        return f"{self.name}{settings}{fingerprint}"

    @property
    def batch(self) -> BatchFunction | None:
        """Function that computes many energies at once; None if there is none, as for calculators not ours."""
        return self._named.batch if self._named is not None else None

    @property
    def versions(self) -> dict[str, str | None]:
        """Versions of the libraries that compute, as far as they are known; None for one that is not installed."""
        if self._named is not None:
            return {library: installed_version(library) for library in self._named.libraries}
        path, factory = self._unwrapped[0], self._factory
        made_by = factory.func if isinstance(factory, partial) else factory
        return dict(versions_as_imported(made_by, path.partition(":")[0])) if path is not None else {}

    @cached_property
    def fingerprint(self) -> str | None:
        """Digest of all that decides an energy: the calculator, its settings with our defaults, versions, files.

        It is the same in every process. None if there is none, as nobody can tell what a lambda, a closure or an
        object among the settings would do in another process.

        Raises
        ------
        FileNotFoundError
            If a program or a file is missing.
        """
        path, arguments, settings = self._unwrapped
        if path is None:
            return None
        parts = {"calculator": path, "arguments": arguments, "settings": settings, "versions": self.versions}
        if self._named is not None:
            parts["settings"] = calculators.defaults(path) | settings
            parts["contents"] = dict(self._named.contents(**self.settings)) if self._named.contents is not None else {}
        elif files := files_in([*arguments, *settings.values()]):
            parts["contents"] = content(*files)
        return digest(parts)

    @property
    def _named(self) -> NamedCalculator | None:
        return calculators.named(self.calculator) if isinstance(self.calculator, str) else None

    @property
    def _factory(self) -> CalculatorFactory:
        if self._named is not None:
            return self._named.factory
        factory: CalculatorFactory = resolve(self.calculator) if isinstance(self.calculator, str) else self.calculator
        return factory

    @property
    def _unwrapped(self) -> tuple[str | None, tuple[Any, ...], dict[str, Any]]:
        """Name or import path, None if there is none, and all arguments, with those that a `partial` holds."""
        if isinstance(self.calculator, str):
            return self.calculator, (), dict(self.settings)
        if not isinstance(self.calculator, partial):
            return import_path(self.calculator), (), dict(self.settings)
        held = self.calculator  # a partial of a partial is one
        return import_path(held.func), held.args, {**held.keywords, **self.settings}
