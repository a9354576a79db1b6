//! One running script against a launcher that a test plays.


