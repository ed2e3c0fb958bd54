//! The engine and its connections. A connection holds session state (database, settings, temporary tables) and runs
//! one statement at a time; many of them run in parallel.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;

use super::functions::{Functions, Query, RawAnalysis, RawConnection, RawResult};
use super::streams::{InsertStream, ResultStream};
use super::{ConnectError, EngineError, LoadError};

/// A named value for a `{name:Type}` place in a statement.
pub(crate) type Parameter = (String, String);

/// The loaded library and what every connection is opened with. One storage path a process.
pub(crate) struct Engine {
    functions: Arc<Functions>,
    arguments: Vec<CString>,
}

impl Engine {
    /// Loads the library. It will install no signal handlers. Opens nothing yet.
    pub(crate) fn load(library: &Path, arguments: Vec<CString>) -> Result<Self, LoadError> {
        let functions = Functions::load(library)?;
        // SAFETY: takes a flag; called before the first connect, as the header asks.
        unsafe { (functions.set_signal_handlers)(0) };
        Ok(Self { functions: Arc::new(functions), arguments })
    }

    /// Opens a connection; the first one boots the engine and takes its lock on the path.
    pub(crate) fn connect(&self) -> Result<Connection, ConnectError> {
        let mut arguments: Vec<*mut c_char> =
            self.arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = i32::try_from(arguments.len()).map_err(|_| ConnectError)?;
        // SAFETY: `count` pointers to NUL-terminated texts, which outlive the call; it writes to none of them.
        let handle = unsafe { (self.functions.connect)(count, arguments.as_mut_ptr()) };
        let handle = NonNull::new(handle).ok_or(ConnectError)?;
        // SAFETY: a connection that was opened points to a valid inner pointer until it is closed.
        if unsafe { handle.read() }.is_null() {
            return Err(ConnectError);
        }
        Ok(Connection { functions: Arc::clone(&self.functions), handle })
    }
}

/// An open connection, closed when dropped.
pub(crate) struct Connection {
    functions: Arc<Functions>,
    handle: NonNull<RawConnection>,
}

// SAFETY: the library lets a connection be used from any thread, one call at a time; `&mut self` sees to the latter.
unsafe impl Send for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: opened by `connect`, closed only here; nothing that borrows it is left.
        unsafe { (self.functions.close)(self.handle.as_ptr()) }
    }
}

impl Connection {
    fn raw(&self) -> RawConnection {
        // SAFETY: valid until closed, see `Engine::connect`.
        unsafe { self.handle.read() }
    }

    /// Runs a statement and materialises its whole answer. Never put an insert's data into `sql`: the engine cuts it
    /// at the first empty line and reports success.
    pub(crate) fn query(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[Parameter],
    ) -> Result<Answer, EngineError> {
        let result = self.start(self.functions.query, sql, format, parameters);
        QueryResult::new(Arc::clone(&self.functions), result)?.answer()
    }

    /// Starts a SELECT whose answer comes in chunks, each a complete document of the format.
    pub(crate) fn stream(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[Parameter],
    ) -> Result<ResultStream<'_>, EngineError> {
        let result = self.start(self.functions.stream_query, sql, format, parameters);
        let result = QueryResult::new(Arc::clone(&self.functions), result)?;
        result.check()?;
        Ok(ResultStream::new(self, result))
    }

    /// Starts an insert; `sql` ends before `FORMAT`, and the data is appended in `format`.
    pub(crate) fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[Parameter],
    ) -> Result<InsertStream<'_>, EngineError> {
        let insert = self.start(self.functions.stream_insert, sql, format, parameters);
        InsertStream::new(self, insert)
    }

    /// Calls one of the three functions that start a statement; they take the same arguments.
    fn start(
        &mut self,
        function: Query,
        sql: &[u8],
        format: &str,
        parameters: &[Parameter],
    ) -> *mut c_void {
        let names: Vec<*const c_char> =
            parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect();
        let values: Vec<*const c_char> =
            parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let name_lengths: Vec<usize> = parameters.iter().map(|(name, _)| name.len()).collect();
        let value_lengths: Vec<usize> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: pointers and lengths of buffers that live during the call, arrays of one length; the connection is
        // borrowed mutably, so no other call on it runs.
        unsafe {
            function(
                self.raw(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            )
        }
    }

    /// What the engine's own parser makes of a text, without running it.
    pub(crate) fn classify(&mut self, sql: &[u8]) -> Result<Analysis, EngineError> {
        let mut raw = RawAnalysis {
            struct_size: u32::try_from(size_of::<RawAnalysis>()).expect("16 bytes fit"),
            ..RawAnalysis::default()
        };
        // SAFETY: a live buffer with its length, no target database, and a struct of the size it states.
        let state = unsafe {
            (self.functions.classify)(
                self.raw(),
                sql.as_ptr().cast(),
                sql.len(),
                std::ptr::null(),
                0,
                &raw mut raw,
            )
        };
        if state != 0 {
            return Err(EngineError::new(
                "Code: 49. DB::Exception: the statement cannot be classified".into(),
            ));
        }
        Ok(Analysis { statements: raw.statement_count, class: Class::from_number(raw.query_class) })
    }

    pub(super) fn functions(&self) -> &Arc<Functions> {
        &self.functions
    }

    pub(super) fn fetch(&mut self, stream: RawResult) -> Result<QueryResult, EngineError> {
        // SAFETY: `stream` is an open stream of this connection, which is borrowed mutably.
        let result = unsafe { (self.functions.stream_fetch)(self.raw(), stream) };
        QueryResult::new(Arc::clone(&self.functions), result)
    }

    pub(super) fn cancel(&mut self, stream: RawResult) {
        // SAFETY: as in `fetch`.
        unsafe { (self.functions.stream_cancel)(self.raw(), stream) }
    }
}

/// What the engine's parser says about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Analysis {
    /// How many statements it holds; 0 when it does not parse.
    pub(crate) statements: u32,
    pub(crate) class: Class,
}

/// What a statement does to what outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    ReadOnly,
    Mutating,
    MutatingGlobal,
    Control,
    Unknown,
}

impl Class {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::ReadOnly,
            1 => Self::Mutating,
            2 => Self::MutatingGlobal,
            3 => Self::Control,
            _ => Self::Unknown,
        }
    }
}

/// A materialised answer, or one chunk of a streamed one.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) bytes: Bytes,
    pub(crate) statistics: Statistics,
}

/// What a statement read and wrote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) result_rows: u64,
    pub(crate) result_bytes: u64,
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
    pub(crate) seconds: f64,
}

/// A result of the library, freed when dropped.
pub(super) struct QueryResult {
    functions: Arc<Functions>,
    raw: NonNull<c_void>,
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed only here.
        unsafe { (self.functions.result_destroy)(self.raw.as_ptr()) }
    }
}

impl QueryResult {
    pub(super) fn new(functions: Arc<Functions>, raw: RawResult) -> Result<Self, EngineError> {
        let raw = NonNull::new(raw).ok_or_else(|| {
            EngineError::new("Code: 49. DB::Exception: the engine returned no result".to_owned())
        })?;
        Ok(Self { functions, raw })
    }

    pub(super) fn raw(&self) -> RawResult {
        self.raw.as_ptr()
    }

    pub(super) fn check(&self) -> Result<(), EngineError> {
        // SAFETY: a live result; the text lives as long as it, and is copied.
        let text = unsafe { text_of((self.functions.result_error)(self.raw())) };
        text.map_or(Ok(()), |text| Err(EngineError::new(text)))
    }

    pub(super) fn answer(&self) -> Result<Answer, EngineError> {
        self.check()?;
        let (functions, raw) = (&self.functions, self.raw());
        // SAFETY: a live result; the buffer is valid for its length while the result lives, and is copied here.
        unsafe {
            let (buffer, length) = ((functions.result_buffer)(raw), (functions.result_length)(raw));
            let bytes = if buffer.is_null() || length == 0 {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(std::slice::from_raw_parts(
                    buffer.cast_const().cast(),
                    length,
                ))
            };
            let statistics = Statistics {
                result_rows: (functions.result_rows)(raw),
                result_bytes: (functions.result_bytes)(raw),
                read_rows: (functions.storage_rows_read)(raw),
                read_bytes: (functions.storage_bytes_read)(raw),
                written_rows: (functions.rows_written)(raw),
                written_bytes: (functions.bytes_written)(raw),
                seconds: (functions.result_elapsed)(raw),
            };
            Ok(Answer { bytes, statistics })
        }
    }
}

/// # Safety
/// `text` is null or points to a NUL-terminated text that lives during the call.
pub(super) unsafe fn text_of(text: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
