class PaymentDeclined(Exception):
    pass


class Gateway:
    """Talks to a payment provider; the tests put something else in its place."""

    def charge(self, email, amount):
        raise NotImplementedError

    def refund(self, email, amount):
        raise NotImplementedError


gateway = Gateway()
