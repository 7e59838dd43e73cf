"""Equations 1-8 against the same formulas written out in plain Python, one number at a time."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from asla_agents import equations

PRECISIONS = [(torch.float32, 1e-5), (torch.float64, 1e-13)]
COEFFICIENTS = [0.5, -0.25, 2.0]
WIDTHS = [0.1, 0.4, 1.3]


@pytest.fixture(params=PRECISIONS, ids=["float32", "float64"])
def precision(request):
    return request.param


@pytest.fixture
def r(precision):
    """Distances of a 5x4 image, zero among them."""
    x, y = torch.meshgrid(0.2 * torch.arange(-2.0, 3.0), 0.3 * torch.arange(-1.0, 3.0), indexing="ij")
    return torch.sqrt(x**2 + y**2).to(precision[0])


@pytest.fixture
def theta(r):
    return torch.linspace(-math.pi, math.pi, r.numel(), dtype=r.dtype).reshape(r.shape)


def check(ours: Tensor, formula, *inputs: Tensor, tolerance: float) -> None:
    """Compare with a formula applied to one number at a time."""
    numbers = [formula(*(float(part) for part in parts)) for parts in zip(*(i.flatten() for i in inputs), strict=True)]
    kind = torch.complex128 if ours.is_complex() else torch.float64
    expected = torch.tensor(numbers, dtype=kind).reshape(inputs[0].shape)
    assert ours.dtype == (inputs[0].dtype.to_complex() if ours.is_complex() else inputs[0].dtype)
    torch.testing.assert_close(ours.to(kind), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", WIDTHS)
def test_equation_1_is_a_gaussian(r, precision, width):
    check(equations.gaussian(r, width), lambda r: math.exp(-(r**2) / (2 * width**2)), r, tolerance=precision[1])


def test_equation_1_takes_one_width_for_each_image(r, precision):
    widths = torch.tensor(WIDTHS, dtype=r.dtype)
    kernels = equations.gaussian(r, widths.reshape(3, 1, 1))
    for kernel, width in zip(kernels, widths.tolist(), strict=True):
        torch.testing.assert_close(kernel, equations.gaussian(r, width), rtol=precision[1], atol=precision[1])


def test_equation_2_sums_gaussians_of_several_widths(r, precision):
    widths, coefficients = torch.tensor(WIDTHS, dtype=r.dtype), torch.tensor(COEFFICIENTS, dtype=r.dtype)

    def formula(r):
        pairs = zip(coefficients.tolist(), widths.tolist(), strict=True)
        return sum(c * math.exp(-(r**2) / (2 * width**2)) for c, width in pairs)

    check(equations.gaussian_expansion(r, coefficients, widths), formula, r, tolerance=precision[1])


def test_equation_2_keeps_the_leading_axes_of_the_coefficients(r):
    widths, coefficients = torch.tensor(WIDTHS, dtype=r.dtype), torch.rand(2, 4, 3, dtype=r.dtype)
    kernels = equations.gaussian_expansion(r, coefficients, widths)
    assert kernels.shape == (2, 4, *r.shape)
    torch.testing.assert_close(kernels[1, 2], equations.gaussian_expansion(r, coefficients[1, 2], widths))


def test_equation_3_sums_the_absolute_coefficients():
    coefficients = torch.tensor([COEFFICIENTS, COEFFICIENTS])
    assert equations.l1_penalty(coefficients, 0.01).item() == pytest.approx(0.01 * 2 * 2.75)
    assert equations.l1_penalty(coefficients, 0.0).item() == 0


def test_equation_4_sums_rings_of_one_width(r, precision):
    centers, coefficients = torch.tensor([0.0, 0.4, 0.8], dtype=r.dtype), torch.tensor(COEFFICIENTS, dtype=r.dtype)

    def formula(r):
        pairs = zip(coefficients.tolist(), centers.tolist(), strict=True)
        return sum(c * math.exp(-((r - center) ** 2) / (2 * 0.2**2)) for c, center in pairs)

    check(equations.displaced_expansion(r, coefficients, centers, 0.2), formula, r, tolerance=precision[1])


@pytest.mark.parametrize("m", [0, 1, 2, 5])
def test_equation_5_is_a_phase(theta, precision, m):
    check(equations.circular_harmonic(theta, m), lambda t: cmath.exp(1j * m * t), theta, tolerance=precision[1])


@pytest.mark.parametrize("r_s", [0.0, 0.5])
def test_equation_6_is_a_ring(r, precision, r_s):
    ours = equations.displaced_gaussian(r, 0.2, r_s)
    check(ours, lambda r: math.exp(-((r - r_s) ** 2) / (2 * 0.2**2)), r, tolerance=precision[1])


@pytest.mark.parametrize("m", [0, 1, 3])
def test_equation_7_is_a_ring_times_a_phase(r, theta, precision, m):
    def formula(r, t):
        return 0 if r == 0 and m > 0 else math.exp(-((r - 0.5) ** 2) / (2 * 0.2**2)) * cmath.exp(1j * m * t)

    check(equations.angular_kernel(r, theta, 0.2, 0.5, m), formula, r, theta, tolerance=precision[1])


@pytest.mark.parametrize(("m", "middle"), [(0, 1), (1, 0), (4, 0)])
def test_the_middle_pixel_has_no_direction(m, middle):
    kernel = equations.angular_kernel(torch.zeros(1), torch.zeros(1), 0.2, 0.0, m)
    assert kernel.item() == middle


def test_equation_8_squares_real_and_imaginary_part(precision):
    image = torch.rand(4, dtype=precision[0])
    kernel = torch.complex(torch.rand(4, dtype=precision[0]), torch.rand(4, dtype=precision[0]))

    def formula(image, real, imaginary):
        return (image * real) ** 2 + (image * imaginary) ** 2

    ours = equations.power_spectrum(image, kernel, torch.mul)
    check(ours, formula, image, kernel.real, kernel.imag, tolerance=precision[1])


@given(theta=st.floats(-10, 10), m=st.integers(0, 6), turns=st.integers(-3, 3))
@settings(deadline=None)
def test_a_circular_harmonic_has_modulus_one_and_repeats_each_turn(theta, m, turns):
    angles = torch.tensor([theta, theta + 2 * math.pi * turns], dtype=torch.float64)
    here, there = equations.circular_harmonic(angles, m).tolist()
    assert abs(here) == pytest.approx(1)
    assert here == pytest.approx(there, abs=1e-9)


@given(r=st.floats(0, 10), width=st.floats(0.01, 10), r_s=st.floats(0, 10))
@settings(deadline=None)
def test_a_ring_is_highest_at_its_radius(r, width, r_s):
    ring = equations.displaced_gaussian(torch.tensor([r, r_s], dtype=torch.float64), width, r_s)
    assert 0 <= ring[0] <= ring[1] == 1


@pytest.fixture
def exact_r():
    return torch.linspace(0, 1, 6, dtype=torch.float64)


def trained(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_gradient_of_a_trained_width(exact_r):
    assert gradcheck(lambda width: equations.gaussian(exact_r, width), trained(0.3))


def test_gradients_of_coefficients_and_widths(exact_r):
    coefficients, widths = trained(*COEFFICIENTS), trained(*WIDTHS)
    assert gradcheck(lambda c, width: equations.gaussian_expansion(exact_r, c, width), (coefficients, widths))


def test_gradient_of_the_penalty():
    assert gradcheck(lambda c: equations.l1_penalty(c, 0.1), trained(*COEFFICIENTS))


def test_gradients_of_rings(exact_r):
    coefficients, centers = trained(*COEFFICIENTS), trained(0.05, 0.35, 0.75)
    assert gradcheck(lambda c, r_i: equations.displaced_expansion(exact_r, c, r_i, 0.2), (coefficients, centers))


def test_gradient_of_the_power_spectrum(exact_r):
    kernel = equations.angular_kernel(exact_r, 3 * exact_r, 0.2, 0.5, 2)
    assert gradcheck(lambda image: equations.power_spectrum(image, kernel, torch.mul), trained(*range(1, 7)))
