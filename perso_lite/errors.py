"""The one exception for everything a user can put right."""


class PersoError(ValueError):
    """Says in a sentence what was wrong, what was expected and what to do.

    The command line prints the sentence and exits with code 2, without a traceback.
    """
