"""Weekly presence, forecast from the log: arrays in, arrays out. No I/O, and no clock but the caller's.

    transitions ─▶ occupancy ─▶ model ─▶ nowcast
         (slots: local time)      └───▶ score

Days are rows: an array of shape (days, slots) holds one local day a row, slot 0 beginning at 00:00.
"""
