//! One task per object, for as long as the object is there and this process leads.

use std::collections::HashMap;

use tokio::task::{AbortHandle, JoinSet};

/// The tasks, by uid, each with the term that it was begun in.
#[derive(Default)]
pub(super) struct Runners {
    running: HashMap<String, (u64, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Runners {
    /// Ends the tasks of other terms and of objects that are gone, and starts those that lack one. `start`: None for an object that
    /// gets none; one that runs already goes on.
    pub(super) fn keep<T, R>(&mut self, term: u64, wanted: HashMap<String, T>, start: impl Fn(T) -> Option<R>)
    where
        R: Future<Output = ()> + Send + 'static,
    {
        self.running.retain(|uid, (of, task)| {
            let keep = *of == term && wanted.contains_key(uid);
            if !keep {
                task.abort();
            }
            keep && !task.is_finished()
        });
        for (uid, object) in wanted {
            if !self.running.contains_key(&uid)
                && let Some(runner) = start(object)
            {
                self.running.insert(uid, (term, self.tasks.spawn(runner)));
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }
}
