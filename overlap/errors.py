"""The error for mistakes that the user can correct."""


class UserError(ValueError):
    """A mistake in the input: arguments, recipes, data, files. The message says where it is and what to do.

    User errors of `distill` and `analysis` derive from it; the command line shows them as one message, other errors
    with a traceback.
    """
