"""Run the program as ``python -m kfgn_graph.program``."""

from kfgn_graph.program.entry import main

if __name__ == "__main__":
    main()
