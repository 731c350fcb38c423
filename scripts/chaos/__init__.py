"""Breaks a real Chorus mesh on purpose and says what happened."""
