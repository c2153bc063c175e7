"""What is raised where the user can mend it."""


class UserError(ValueError):
    """A mistake in what was given: arguments, recipes, data, files. The message says where it is and what to do.

    Errors of `distill` and `analysis` that a user can mend derive from it; their command line shows such an error as
    one message, and any other with its traceback.
    """
