//! What a pipeline tells while it works.

/// Listens to a pipeline. Implementations are called from several threads.
pub trait Progress: Send + Sync {
    /// A stage of `total` steps begins.
    fn begin(&self, stage: &str, total: u64);
    /// A step of the current stage is done.
    fn step(&self);
    /// The current stage is done.
    fn end(&self);
    /// Something the user should know, as a sentence.
    fn note(&self, sentence: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn step(&self) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
}
