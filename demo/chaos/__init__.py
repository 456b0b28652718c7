"""arsync under `kill -9`: many decisions, while its programs and the ERP's server are killed at random moments."""
