//! The sources of documents.
