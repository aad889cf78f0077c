"""The errors that steps share; nothing heavy is imported here."""


class InputError(Exception):
    """Input or usage is wrong and nothing was computed: exit code 2."""


class Rejection(Exception):
    """A record that can't be worked on: a reason word and a message.

    Raised by readers and checks of single records, turned into a row with
    status `rejected` by the worker; never crosses a step as an exception.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f'{reason}: {message}')
        self.reason = reason
        self.message = message


class StoreError(OSError):
    """A result file can't be written or read; the text is for the user."""
