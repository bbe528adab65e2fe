//! COPY's two forms: what stands around the rows, and what lies between them.
//!
//! In: messages of a server's `COPY … TO STDOUT`. Out: rows without the header and the trailer of the binary form.
//! A server sends a row a message; the header comes in the first row's message, or alone, and the trailer alone, or
//! behind the header where there are no rows.

/// In which form rows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// PostgreSQL's own bytes, not looked at.
    Binary,
    /// Lines.
    Text,
}

/// The signature, no flags, no extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In place of a row's number of columns.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];
const SIGNATURE_BYTES: usize = 11;
const FLAGS_BYTES: usize = 4;

/// What a source sent is not COPY's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCopy {
    /// It does not begin as it must.
    #[error("the source's binary COPY has no header")]
    Header,
    /// It has rows with object identifiers, which PostgreSQL has not sent since version 12.
    #[error("the source's binary COPY has flags that are not known")]
    Flags,
}

impl Form {
    /// The word in a statement.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }
}

/// Takes the rows out of a source's messages.
#[derive(Debug)]
pub(crate) struct Rows {
    form: Form,
    began: bool,
}

impl Rows {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, began: false }
    }

    /// The row in a message; `None`: there is none in it.
    pub(crate) fn row<'a>(&mut self, message: &'a [u8]) -> Result<Option<&'a [u8]>, NotCopy> {
        if self.form == Form::Text {
            return Ok((!message.is_empty()).then_some(message));
        }
        let mut rest = message;
        if !self.began {
            rest = behind_header(message)?;
            self.began = true;
        }
        Ok((!rest.is_empty() && rest != TRAILER).then_some(rest))
    }
}

fn behind_header(message: &[u8]) -> Result<&[u8], NotCopy> {
    let rest = message.strip_prefix(&HEADER[..SIGNATURE_BYTES]).ok_or(NotCopy::Header)?;
    let (flags, rest) = rest.split_at_checked(FLAGS_BYTES).ok_or(NotCopy::Header)?;
    if flags != [0; FLAGS_BYTES] {
        return Err(NotCopy::Flags);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(NotCopy::Header)?;
    rest.get(u32::from_be_bytes(*length) as usize..).ok_or(NotCopy::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_is_between_header_and_trailer() {
        let row = [0, 1, 0, 0, 0, 1, 7];
        let mut rows = Rows::new(Form::Binary);
        assert_eq!(rows.row(&[HEADER, &row[..]].concat()), Ok(Some(&row[..])));
        assert_eq!(rows.row(&row), Ok(Some(&row[..])));
        assert_eq!(rows.row(TRAILER), Ok(None));
        let mut none = Rows::new(Form::Binary);
        assert_eq!(none.row(&[HEADER, TRAILER].concat()), Ok(None));
        let mut alone = Rows::new(Form::Binary);
        assert_eq!(alone.row(HEADER), Ok(None));
        assert_eq!(alone.row(&row), Ok(Some(&row[..])));
    }

    #[test]
    fn what_is_no_copy_is_refused() {
        assert_eq!(Rows::new(Form::Binary).row(b"1\tone\n"), Err(NotCopy::Header));
        let mut with_oids = HEADER.to_vec();
        with_oids[SIGNATURE_BYTES + 1] = 1;
        assert_eq!(Rows::new(Form::Binary).row(&with_oids), Err(NotCopy::Flags));
        assert_eq!(Rows::new(Form::Binary).row(&HEADER[..12]), Err(NotCopy::Header));
    }

    #[test]
    fn lines_are_rows() {
        let mut rows = Rows::new(Form::Text);
        assert_eq!(rows.row(b"1\tone\n"), Ok(Some(&b"1\tone\n"[..])));
        assert_eq!(rows.row(b""), Ok(None));
    }
}
