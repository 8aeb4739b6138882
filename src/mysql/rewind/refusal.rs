//! Why a tail can't be undone from row images. The member is cloned then.

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// DDL, account statements: they leave no row images. Its first words.
    #[error("the tail holds a statement, not rows: {0}")]
    Statement(String),
    /// Without one a row can't be found again for sure.
    #[error("{table} has no primary key")]
    NoPrimaryKey {
        /// `database.table`
        table: String,
    },
    /// Not all columns are in the image.
    #[error("{table} was logged without full row images")]
    PartialImages {
        /// `database.table`
        table: String,
    },
    /// A type whose length isn't known here.
    #[error("{table} has a column of type {code}")]
    ColumnType {
        /// `database.table`
        table: String,
        /// The binlog's number of the type.
        code: u8,
    },
    /// A key that rows can't be looked up by for sure.
    #[error("the key of {table} has a column of type {kind}")]
    KeyType {
        /// `database.table`
        table: String,
        /// MySQL's name of the type.
        kind: String,
    },
    /// InnoDB changes the children's rows by itself, and may not log it.
    #[error("{table} is the parent of a foreign key that cascades")]
    Cascades {
        /// `database.table`
        table: String,
    },
    /// XA transactions: in the tail, or prepared and not ended.
    #[error("the member holds XA transactions")]
    Xa,
    /// Not in the binary logs any more.
    #[error("no binary log holds {0}")]
    Missing(String),
    /// Something else was committed after a transaction of the tail: undoing that would undo more.
    #[error("{0} was committed after the tail began")]
    Interleaved(String),
    /// Cloning is as quick.
    #[error("the tail is too large: {0}")]
    TooLarge(String),
    /// A part of the binlog can't be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// The server didn't apply an inverse event: the rows aren't as the tail left them.
    #[error("not as the tail left it: {0}")]
    Differs(String),
}
