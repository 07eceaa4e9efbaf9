from terminals.lease import Lease, Permit

__all__ = ["Lease", "Permit"]
