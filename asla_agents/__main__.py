"""`python -m asla_agents` is the command `asla`."""

from asla_agents.cli import main

if __name__ == "__main__":
    main()
