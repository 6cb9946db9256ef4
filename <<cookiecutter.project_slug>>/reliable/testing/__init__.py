"""The harness: real servers, real workers, real faults; see README.md in this folder."""
