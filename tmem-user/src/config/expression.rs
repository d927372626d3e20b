//! Sizes as expressions: `min(ram / 4, 4G)`, `20%`, `max(64M, ram - 8G)`.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = factor { ("*" | "/") factor }
//! factor  = NUMBER [ K | M | G | T | % ] | "ram"
//!         | ("min" | "max") "(" sum { "," sum } ")" | "(" sum ")"
//! ```
//!
//! Numbers are whole and without a sign; `%` is percent of RAM; division rounds
//! down. The value is in bytes.

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at character {}", at + 1)]
pub struct ExpressionError {
    /// Characters before the place.
    pub at: usize,
    /// What is wrong there.
    pub message: String,
}

/// The value of `text` in bytes on a machine with `ram` bytes of memory.
///
/// # Errors
/// Where it is no expression, or its value is not a size: negative, too large, a
/// division by nothing.
pub fn evaluate(text: &str, ram: u64) -> Result<u64, ExpressionError> {
    let mut parser = Parser {
        chars: text.chars().collect(),
        at: 0,
        depth: 0,
        ram,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.error("an operator (+ - * /) or the end is wanted")),
    }
}

/// Parentheses within each other, at most.
const DEEPEST: usize = 32;

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    ram: u64,
}

impl Parser {
    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError {
            at: self.at,
            message: message.into(),
        }
    }

    /// The next character that is not a blank.
    fn peek(&mut self) -> Option<char> {
        while self
            .chars
            .get(self.at)
            .is_some_and(|char| char.is_whitespace())
        {
            self.at += 1;
        }
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), ExpressionError> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(self.error(format!("{wanted:?} is wanted")))
        }
    }

    fn sum(&mut self) -> Result<u64, ExpressionError> {
        let mut value = self.product()?;
        loop {
            self.peek();
            let place = self.at;
            let (next, what) = if self.take('+') {
                (value.checked_add(self.product()?), "the sum is too large")
            } else if self.take('-') {
                (
                    value.checked_sub(self.product()?),
                    "the difference is below 0",
                )
            } else {
                return Ok(value);
            };
            value = self.checked(next, place, what)?;
        }
    }

    fn product(&mut self) -> Result<u64, ExpressionError> {
        let mut value = self.factor()?;
        loop {
            self.peek();
            let place = self.at;
            let (next, what) = if self.take('*') {
                (
                    value.checked_mul(self.factor()?),
                    "the product is too large",
                )
            } else if self.take('/') {
                (value.checked_div(self.factor()?), "a division by 0")
            } else {
                return Ok(value);
            };
            value = self.checked(next, place, what)?;
        }
    }

    fn checked(
        &self,
        value: Option<u64>,
        at: usize,
        message: &str,
    ) -> Result<u64, ExpressionError> {
        value.ok_or_else(|| ExpressionError {
            at,
            message: message.to_owned(),
        })
    }

    fn factor(&mut self) -> Result<u64, ExpressionError> {
        match self.peek() {
            Some('(') => self.nested(Self::sum),
            Some(char) if char.is_ascii_digit() => self.number(),
            Some(char) if char.is_ascii_alphabetic() => self.named(),
            _ => Err(self.error("a size, ram, min(...) or max(...) is wanted")),
        }
    }

    /// What stands in parentheses.
    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<u64, ExpressionError>,
    ) -> Result<u64, ExpressionError> {
        self.expect('(')?;
        if self.depth == DEEPEST {
            return Err(self.error("too many parentheses within each other"));
        }
        self.depth += 1;
        let value = inner(self)?;
        self.depth -= 1;
        self.expect(')')?;
        Ok(value)
    }

    fn number(&mut self) -> Result<u64, ExpressionError> {
        let start = self.at;
        while self.chars.get(self.at).is_some_and(char::is_ascii_digit) {
            self.at += 1;
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        let number = self.checked(digits.parse().ok(), start, "the number is too large")?;
        let shift = match self.chars.get(self.at) {
            Some('%') => {
                self.at += 1;
                let share = u128::from(self.ram) * u128::from(number) / 100;
                return self.checked(u64::try_from(share).ok(), start, "the share is too large");
            }
            Some('K' | 'k') => 10,
            Some('M' | 'm') => 20,
            Some('G' | 'g') => 30,
            Some('T' | 't') => 40,
            _ => return Ok(number),
        };
        self.at += 1;
        self.checked(
            number.checked_mul(1 << shift),
            start,
            "the size is too large",
        )
    }

    fn named(&mut self) -> Result<u64, ExpressionError> {
        let start = self.at;
        while self
            .chars
            .get(self.at)
            .is_some_and(char::is_ascii_alphanumeric)
        {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        let choose = match name.as_str() {
            "ram" => return Ok(self.ram),
            "min" => u64::min,
            "max" => u64::max,
            _ => {
                self.at = start;
                return Err(self.error(format!("{name:?} is not known; ram, min and max are")));
            }
        };
        self.nested(|inside| {
            let mut value = inside.sum()?;
            while inside.take(',') {
                value = choose(value, inside.sum()?);
            }
            Ok(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: u64 = 16 << 30;

    #[test]
    fn expressions_have_their_usual_values() {
        for (text, value) in [
            ("4G", 4 << 30),
            ("min(ram / 4, 4G)", 4 << 30),
            ("min(ram/8,4G)", 2 << 30),
            ("max(64M, ram - 15G)", 1 << 30),
            ("20%", RAM / 5),
            ("100% - 1", RAM - 1),
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("7 / 2", 3),
            ("10 - 3 - 2", 5),
            ("min(3, 2, 5)", 2),
            (" ram ", RAM),
        ] {
            assert_eq!(evaluate(text, RAM), Ok(value), "{text}");
        }
    }

    #[test]
    fn errors_tell_the_place() {
        for (text, at, words) in [
            ("", 0, "wanted"),
            ("min(ram / 4, 4G", 15, "')'"),
            ("ram / 0", 4, "division by 0"),
            ("1 - 2", 2, "below 0"),
            ("cpu * 2", 0, "\"cpu\" is not known"),
            ("4 G", 2, "operator"),
            ("-1", 0, "wanted"),
            ("ram *", 5, "wanted"),
            ("20000000T", 0, "too large"),
            ("99999999999999999999", 0, "too large"),
            ("min 3", 4, "'('"),
            ("4Gé", 2, "operator"),
        ] {
            let error = evaluate(text, RAM).err();
            let error = error.unwrap_or(ExpressionError {
                at: usize::MAX,
                message: String::new(),
            });
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        assert!(evaluate(&"(".repeat(100_000), RAM).is_err());
    }
}
