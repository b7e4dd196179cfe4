"""Configs of the suites that the numpy engine is through with in seconds."""

SEQUENTIAL = "layers = [1]\nsteps = 3\nprefixes = 1\n"
METHODS = (
    'methods = ["memctl", "joint-memit", "memit", "alphaedit", "reference", "in-prompt"]\n'
    f"[memit]\n{SEQUENTIAL}"
    f'[alphaedit]\n{SEQUENTIAL}statistic = "null space"\nnull_threshold = 1.0\n'
    f'[reference]\n{SEQUENTIAL}site = "prompt"\ntarget = "first token"\noptimiser = "sgd"\nstatistic = "diagonal"\n'
)
CONFIGS = {
    "capacity": "seeds = [1]\nsizes = [1, 2]\nstrangers = 3\nprobed = 1\n",
    "first-person": "seeds = [1]\nsizes = [2]\nothers = 2\nprobed = 2\n",
    "baselines": f"seeds = [1]\nsizes = [1]\nstrangers = 3\nprobed = 1\n{METHODS}",
    "lambda": "seeds = [1]\nsizes = [1]\nstrangers = 3\nprobed = 1\ndampings = [0.1, 1.0]\nthresholds = [0.5]\n",
    "speed": "seeds = [1]\nsizes = [1, 5]\nsingle = 1\nbatch = 2\nprompts = 2\ntokens = 4\nrepeats = 1\n",
    "convergence": "seeds = [1]\nsizes = [2]\nnights = 1\ndamaged = 0.5\nstrangers = 3\nprobed = 1\n",
    "consolidation": "seeds = [1]\nsizes = [1]\nnights = 1\nstrangers = 3\nprobed = 1\n",
    "lifetime": "seeds = [1]\nsizes = [1, 2]\nnights = 1\nstrangers = 3\nprobed = 1\n",
    "alignment-tax": "seeds = [1]\nsizes = [1]\npasses = 1\nnights = 1\nstrangers = 3\nprobed = 1\n",
    "counterfact": 'seeds = [1]\nsizes = [2]\nneighbours = 1\nmethods = ["memctl", "in-prompt"]\n',
    "zsre": 'seeds = [1]\nsizes = [2]\nmethods = ["memctl", "in-prompt"]\n',
}
