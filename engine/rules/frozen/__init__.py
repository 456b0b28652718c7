"""Rules as they were: what former versions decided otherwise, so that their entries verify under their own rules."""
