"""Storage: LMDB environments, one an owner; their records, checks, locks and folder.

Import from the modules (`from storage.trades import TradeStore`); this file
stays empty so that the checking child process starts fast.
"""
