//! Life of a finding: candidate, open, resolved (SURFACE §5 in ARCHITECTURE). A pure function of counts and times of receipt.
