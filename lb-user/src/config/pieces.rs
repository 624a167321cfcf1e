//! A large file in pieces. The parser's tokens and tables take thirty times the memory of their text, so that virtual servers
//! are parsed some at a time.

use std::{borrow::Cow, ops::Range};

use toml_parser::{Source, lexer::TokenKind};

/// Bytes of text that are parsed together.
const TOGETHER: usize = 256 * 1024;

/// A text, and where in it there are virtual servers and nothing else.
pub(super) struct Pieces<'t> {
    text: &'t str,
    blocks: Vec<Range<usize>>,
}

impl<'t> Pieces<'t> {
    /// The whole text as one piece.
    pub(super) const fn whole(text: &'t str) -> Self {
        Self { text, blocks: Vec::new() }
    }

    /// Cuts a large text before headers of virtual servers, if its brackets match.
    pub(super) fn cut(text: &'t str) -> Option<Self> {
        (text.len() > TOGETHER).then(|| Self::of_size(text, TOGETHER)).flatten()
    }

    /// As `cut`, into pieces of about `size` bytes; none for a text that has no such header.
    pub(super) fn of_size(text: &'t str, size: usize) -> Option<Self> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        let mut inside = false;
        let (mut depth, mut line_begins) = (0usize, true);
        for token in Source::new(text).lex() {
            match token.kind() {
                TokenKind::Newline => line_begins = true,
                TokenKind::Whitespace => {}
                kind => {
                    let at = token.span().start();
                    if line_begins && depth == 0 && kind == TokenKind::LeftSquareBracket {
                        if let (true, Some(block)) = (inside, blocks.last_mut()) {
                            block.end = at;
                        }
                        let header = &text[at..];
                        if header.starts_with("[[virtual_server]]") {
                            if !inside || blocks.last().is_some_and(|block| block.len() >= size) {
                                blocks.push(at..at);
                            }
                            inside = true;
                        } else {
                            inside &= header.trim_start_matches('[').starts_with("virtual_server.");
                        }
                    }
                    line_begins = false;
                    match kind {
                        TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => depth += 1,
                        TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                            depth = depth.checked_sub(1)?;
                        }
                        _ => {}
                    }
                }
            }
        }
        if let (true, Some(block)) = (inside, blocks.last_mut()) {
            block.end = text.len();
        }
        (depth == 0 && !blocks.is_empty()).then_some(Self { text, blocks })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All but the virtual servers. As everywhere here spaces stand for what is left out: places stay those of the text.
    pub(super) fn rest(&self) -> Cow<'t, str> {
        if self.is_whole() {
            return self.text.into();
        }
        let mut rest = String::with_capacity(self.text.len());
        for block in &self.blocks {
            rest += &self.text[rest.len()..block.start];
            rest.extend(std::iter::repeat_n(' ', block.len()));
        }
        rest += &self.text[rest.len()..];
        rest.into()
    }

    /// The virtual servers, piece by piece.
    pub(super) fn virtual_servers(&self) -> impl Iterator<Item = String> {
        self.blocks.iter().map(|block| " ".repeat(block.start) + &self.text[block.clone()])
    }
}
