//! The table of libchdb's functions, by their C signatures. Loaded once, kept for the life of the process.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

use super::LoadError;

/// A connection as the calls take it.
pub(super) type RawConnection = *mut c_void;
/// A connection as it is opened and closed: a pointer to the above.
pub(super) type RawHandle = *mut RawConnection;
/// A result, materialised or streaming.
pub(super) type RawResult = *mut c_void;
/// An open streaming insert.
pub(super) type RawInsert = *mut c_void;

/// What `chdb_classify_query_n` fills in.
#[repr(C)]
#[derive(Default)]
pub(super) struct RawAnalysis {
    pub(super) struct_size: u32,
    pub(super) statement_count: u32,
    pub(super) flags: u32,
    pub(super) query_class: u32,
}

/// Starts a statement: materialised, streaming, or an insert.
pub(super) type Query = unsafe extern "C" fn(
    connection: RawConnection,
    sql: *const c_char,
    sql_length: usize,
    format: *const c_char,
    format_length: usize,
    names: *const *const c_char,
    name_lengths: *const usize,
    values: *const *const c_char,
    value_lengths: *const usize,
    count: usize,
) -> *mut c_void;

type Number = unsafe extern "C" fn(RawResult) -> u64;

pub(super) struct Functions {
    pub(super) connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> RawHandle,
    pub(super) close: unsafe extern "C" fn(RawHandle),
    pub(super) query: Query,
    pub(super) stream_query: Query,
    pub(super) stream_fetch: unsafe extern "C" fn(RawConnection, RawResult) -> RawResult,
    pub(super) stream_cancel: unsafe extern "C" fn(RawConnection, RawResult),
    pub(super) stream_insert: Query,
    pub(super) insert_append: unsafe extern "C" fn(RawInsert, *const c_void, usize) -> c_int,
    pub(super) insert_done: unsafe extern "C" fn(RawInsert) -> RawResult,
    pub(super) insert_cancel: unsafe extern "C" fn(RawInsert),
    pub(super) insert_destroy: unsafe extern "C" fn(RawInsert),
    pub(super) insert_error: unsafe extern "C" fn(RawInsert) -> *const c_char,
    pub(super) result_buffer: unsafe extern "C" fn(RawResult) -> *mut c_char,
    pub(super) result_length: unsafe extern "C" fn(RawResult) -> usize,
    pub(super) result_elapsed: unsafe extern "C" fn(RawResult) -> f64,
    pub(super) result_rows: Number,
    pub(super) result_bytes: Number,
    pub(super) storage_rows_read: Number,
    pub(super) storage_bytes_read: Number,
    pub(super) rows_written: Number,
    pub(super) bytes_written: Number,
    pub(super) result_error: unsafe extern "C" fn(RawResult) -> *const c_char,
    pub(super) result_destroy: unsafe extern "C" fn(RawResult),
    pub(super) classify: unsafe extern "C" fn(
        RawConnection,
        *const c_char,
        usize,
        *const c_char,
        usize,
        *mut RawAnalysis,
    ) -> c_int,
    pub(super) set_signal_handlers: unsafe extern "C" fn(c_int),
}

impl Functions {
    /// Loads the library and looks every function up. The library is never unloaded.
    pub(super) fn load(file: &Path) -> Result<Self, LoadError> {
        // SAFETY: the file is libchdb, which the operator named or the fetch script checked; its initialisers may
        // run here. It is leaked below, so the function pointers stay valid.
        let library = unsafe { Library::new(file) }
            .map_err(|source| LoadError::Open { file: file.to_owned(), source })?;
        let library: &'static Library = Box::leak(Box::new(library));
        let place = Place { library, file };
        // SAFETY: each type is the C signature of that function in libchdb 26.7's header.
        unsafe {
            Ok(Self {
                connect: place.function("chdb_connect")?,
                close: place.function("chdb_close_conn")?,
                query: place.function("chdb_query_with_params_n")?,
                stream_query: place.function("chdb_stream_query_with_params_n")?,
                stream_fetch: place.function("chdb_stream_fetch_result")?,
                stream_cancel: place.function("chdb_stream_cancel_query")?,
                stream_insert: place.function("chdb_stream_insert_with_params_n")?,
                insert_append: place.function("chdb_stream_append")?,
                insert_done: place.function("chdb_stream_done")?,
                insert_cancel: place.function("chdb_stream_cancel_insert")?,
                insert_destroy: place.function("chdb_destroy_insert_stream")?,
                insert_error: place.function("chdb_stream_insert_error")?,
                result_buffer: place.function("chdb_result_buffer")?,
                result_length: place.function("chdb_result_length")?,
                result_elapsed: place.function("chdb_result_elapsed")?,
                result_rows: place.function("chdb_result_rows_read")?,
                result_bytes: place.function("chdb_result_bytes_read")?,
                storage_rows_read: place.function("chdb_result_storage_rows_read")?,
                storage_bytes_read: place.function("chdb_result_storage_bytes_read")?,
                rows_written: place.function("chdb_result_rows_written")?,
                bytes_written: place.function("chdb_result_bytes_written")?,
                result_error: place.function("chdb_result_error")?,
                result_destroy: place.function("chdb_destroy_query_result")?,
                classify: place.function("chdb_classify_query_n")?,
                set_signal_handlers: place.function("chdb_set_signal_handlers_enabled")?,
            })
        }
    }
}

struct Place<'a> {
    library: &'static Library,
    file: &'a Path,
}

impl Place<'_> {
    /// # Safety
    /// `F` must be the function's type.
    unsafe fn function<F: Copy + 'static>(&self, function: &'static str) -> Result<F, LoadError> {
        // SAFETY: the caller names the right type; the library stays loaded for ever.
        let symbol = unsafe { self.library.get::<F>(function.as_bytes()) };
        symbol.map(|symbol| *symbol).map_err(|source| LoadError::Function {
            file: self.file.to_owned(),
            function,
            source,
        })
    }
}
