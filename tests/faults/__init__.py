"""The fault plan: what may go wrong does, and the oracle says whether anything was lost."""
