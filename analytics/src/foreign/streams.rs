//! The two streams of a connection: a SELECT's answer in chunks, and an insert's data. While one is open the
//! connection runs nothing else; one that is dropped unfinished is cancelled.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::EngineError;
use super::connection::{Answer, Connection, QueryResult, Statistics, text_of};
use super::functions::RawInsert;

/// A SELECT under way.
pub(crate) struct ResultStream<'connection> {
    connection: &'connection mut Connection,
    result: QueryResult,
    finished: bool,
}

impl<'connection> ResultStream<'connection> {
    pub(super) fn new(connection: &'connection mut Connection, result: QueryResult) -> Self {
        Self { connection, result, finished: false }
    }

    /// The next chunk; `None` at the end. An error ends the stream.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Answer>, EngineError> {
        if self.finished {
            return Ok(None);
        }
        let answer = self.connection.fetch(self.result.raw()).and_then(|chunk| chunk.answer());
        self.finished = answer.as_ref().map_or(true, |answer| answer.bytes.is_empty());
        answer.map(|answer| (!self.finished).then_some(answer))
    }
}

impl Drop for ResultStream<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.cancel(self.result.raw());
        }
    }
}

/// An insert under way: rows are stored only by `finish`.
pub(crate) struct InsertStream<'connection> {
    connection: &'connection mut Connection,
    raw: NonNull<c_void>,
    finished: bool,
}

impl<'connection> InsertStream<'connection> {
    pub(super) fn new(
        connection: &'connection mut Connection,
        raw: RawInsert,
    ) -> Result<Self, EngineError> {
        let raw = NonNull::new(raw).ok_or_else(|| {
            EngineError::new("Code: 49. DB::Exception: the engine opened no insert".to_owned())
        })?;
        let stream = Self { connection, raw, finished: false };
        stream.error().map_or(Ok(()), Err)?;
        Ok(stream)
    }

    fn error(&self) -> Option<EngineError> {
        // SAFETY: a live insert; the text lives as long as it, and is copied.
        unsafe { text_of((self.connection.functions().insert_error)(self.raw.as_ptr())) }
            .map(EngineError::new)
    }

    /// Hands one piece of data over; it is copied, and this waits while the engine is behind.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), EngineError> {
        // SAFETY: a live insert, and a live buffer with its length.
        let state = unsafe {
            (self.connection.functions().insert_append)(
                self.raw.as_ptr(),
                data.as_ptr().cast(),
                data.len(),
            )
        };
        if state == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| {
            EngineError::new("Code: 49. DB::Exception: the engine took no more data".to_owned())
        }))
    }

    /// Stores the rows and says how many.
    pub(crate) fn finish(mut self) -> Result<Statistics, EngineError> {
        // SAFETY: a live insert, finished once.
        let result = unsafe { (self.connection.functions().insert_done)(self.raw.as_ptr()) };
        self.finished = true;
        let result = QueryResult::new(self.connection.functions().clone(), result)?;
        result.answer().map(|Answer { statistics, .. }| statistics)
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: a live insert, freed only here; an unfinished one is cancelled first, which stores nothing.
        unsafe {
            if !self.finished {
                (self.connection.functions().insert_cancel)(self.raw.as_ptr());
            }
            (self.connection.functions().insert_destroy)(self.raw.as_ptr());
        }
    }
}
