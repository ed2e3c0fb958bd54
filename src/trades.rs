//! Reads trade prints from CSV: `timestamp` (milliseconds since 1970-01-01 UTC), `price`, `size` (USD, negative where
//! the seller was the taker), in any order of columns. A line that does not fit is named with its column, and the
//! batch that it stands in is not delivered. `.zst` files are unpacked on the way.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use annals_core::{Family, Timestamp};
use rust_decimal::Decimal;

/// One line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeLine {
    /// When the exchange saw it.
    pub traded_at: Timestamp,
    /// In USD.
    pub price: Decimal,
    /// In USD, positive.
    pub size: Decimal,
    /// Whether the seller was the taker.
    pub seller_took: bool,
}

/// Why a file of trades cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TradesError {
    /// The file cannot be opened or read.
    #[error("reading trades from {path} failed")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The header lacks a column.
    #[error(
        "{path}, line 1: there is no column {column}; the header must name timestamp, price and size"
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// The missing column.
        column: &'static str,
    },
    /// A line is broken. Nothing of its batch was imported.
    #[error("{path}, line {line}, column {column}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; the header is line 1.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl TradesError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            TradesError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Family::Malformed
            }
            TradesError::Read { .. } => Family::Unavailable,
            TradesError::Header { .. } | TradesError::Line { .. } => Family::Malformed,
        }
    }
}

/// A file of trades, read batch by batch.
pub struct TradesFile {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read + Send>>,
    columns: [usize; 3],
    record: csv::ByteRecord,
    last: Option<Timestamp>,
}

const COLUMNS: [&str; 3] = ["timestamp", "price", "size"];

impl TradesFile {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// [`TradesError::Read`] and [`TradesError::Header`].
    pub fn open(path: &Path) -> Result<TradesFile, TradesError> {
        let fault = |source| TradesError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(fault)?;
        let packed = path.extension().is_some_and(|extension| extension == "zst");
        let source: Box<dyn Read + Send> = if packed {
            Box::new(zstd::Decoder::new(file).map_err(fault)?)
        } else {
            Box::new(std::io::BufReader::with_capacity(1 << 20, file))
        };
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(source);
        let headers = reader.byte_headers().map_err(|error| fault(error.into()))?.clone();
        let mut columns = [0; 3];
        for (place, column) in columns.iter_mut().zip(COLUMNS) {
            *place = headers
                .iter()
                .position(|header| header.trim_ascii() == column.as_bytes())
                .ok_or_else(|| TradesError::Header { path: path.to_owned(), column })?;
        }
        let (path, record) = (path.to_owned(), csv::ByteRecord::new());
        Ok(TradesFile { path, reader, columns, record, last: None })
    }

    /// The next `count` trades, fewer at the end of the file and none behind it.
    ///
    /// # Errors
    /// [`TradesError::Line`] and [`TradesError::Read`].
    pub fn batch(&mut self, count: usize) -> Result<Vec<TradeLine>, TradesError> {
        let mut trades = Vec::with_capacity(count);
        while trades.len() < count {
            let more = self.reader.read_byte_record(&mut self.record).map_err(|error| {
                TradesError::Read { path: self.path.clone(), source: error.into() }
            })?;
            if !more {
                break;
            }
            trades.push(self.parse()?);
        }
        Ok(trades)
    }

    fn parse(&mut self) -> Result<TradeLine, TradesError> {
        let millis = self.field(0)?;
        let millis: i64 = millis.parse().map_err(|_| {
            self.broken(0, format!("{millis:?} is no whole number of milliseconds"))
        })?;
        let traded_at = Timestamp::from_millis(millis);
        if self.last.is_some_and(|last| traded_at < last) {
            return Err(self.broken(0, "the time goes back; trades must be in order".to_owned()));
        }
        let price = self.decimal(1)?;
        if price <= Decimal::ZERO {
            return Err(self.broken(1, format!("{price} is not above 0")));
        }
        let size = self.decimal(2)?;
        if size.is_zero() {
            return Err(self.broken(2, "a trade of size 0 is none".to_owned()));
        }
        self.last = Some(traded_at);
        let seller_took = size.is_sign_negative();
        Ok(TradeLine { traded_at, price, size: size.abs(), seller_took })
    }

    fn field(&self, column: usize) -> Result<&str, TradesError> {
        let bytes = self
            .record
            .get(self.columns[column])
            .ok_or_else(|| self.broken(column, "the line ends before it".to_owned()))?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| self.broken(column, "it is not UTF-8 text".to_owned()))?;
        Ok(text.trim())
    }

    fn decimal(&self, column: usize) -> Result<Decimal, TradesError> {
        let text = self.field(column)?;
        Decimal::from_str(text)
            .map_err(|_| self.broken(column, format!("{text:?} is no decimal number")))
    }

    fn broken(&self, column: usize, reason: String) -> TradesError {
        let line = self.record.position().map_or(0, csv::Position::line);
        TradesError::Line { path: self.path.clone(), line, column: COLUMNS[column], reason }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &str) -> Result<Vec<TradeLine>, TradesError> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        TradesFile::open(file.path())?.batch(10)
    }

    fn refusal(text: &str) -> String {
        let text = read(text).expect_err("broken").to_string();
        text.split_once(", ").expect("the path comes first").1.to_owned()
    }

    #[test]
    fn columns_are_found_by_name_and_the_sign_tells_the_taker() {
        let trades = read("price,size,timestamp\n13873.5,-10,1514764802610\n").expect("valid");
        let expected = TradeLine {
            traded_at: Timestamp::from_millis(1_514_764_802_610),
            price: Decimal::new(138_735, 1),
            size: Decimal::TEN,
            seller_took: true,
        };
        assert_eq!(trades, [expected]);
    }

    #[test]
    fn a_broken_line_is_named_with_its_column() {
        let header = "timestamp,price,size\n";
        let good = "1,2,3\n";
        let cases = [
            ("x,2,3", "line 3, column timestamp: \"x\" is no whole number of milliseconds"),
            ("0,2,3", "line 3, column timestamp: the time goes back; trades must be in order"),
            ("2,abc,3", "line 3, column price: \"abc\" is no decimal number"),
            ("2,-1,3", "line 3, column price: -1 is not above 0"),
            ("2,1", "line 3, column size: the line ends before it"),
            ("2,1,0", "line 3, column size: a trade of size 0 is none"),
        ];
        for (line, expected) in cases {
            assert_eq!(refusal(&format!("{header}{good}{line}\n")), expected);
        }
    }

    #[test]
    fn a_missing_column_is_named() {
        assert!(refusal("timestamp,price\n1,2\n").contains("no column size"));
    }
}
