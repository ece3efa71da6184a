//! The right to write, and what happens when the disk does not take what is written.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    super::{StoreError, catalog::Catalog},
    engine::{CommitError, Durable, Group},
    load::{self, LoadError},
    shared::{Health, Shared, open_engine},
};

/// What a disk must take before it is trusted again, in bytes.
const PROBE: usize = 16 << 20;

/// The right to write. Where it is dropped by a panic, the store no longer trusts what it knows.
pub(super) struct Turn<'a> {
    shared: &'a Shared,
    now: Instant,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.broke("the work on it died".to_owned());
        }
    }
}

impl Turn<'_> {
    fn broke(&self, why: String) {
        let retry_at = self.now.checked_add(self.shared.config.retry_after);
        let mut known = self.shared.known();
        match &known.health {
            Health::Closed => return,
            Health::Refusing { why: before, .. } if *before == why => {}
            _ => tracing::error!(%why, "the store takes no writes"),
        }
        known.health = Health::Refusing { why, retry_at };
    }

    /// Writes what `fill` puts together and, once it is written, has `enter` note it.
    pub(super) fn write(
        &self,
        durable: Durable,
        fill: impl FnOnce(&mut Group<'_>),
        enter: impl FnOnce(&mut Catalog),
    ) -> Result<(), CommitError> {
        let disk = self.shared.disk();
        let engine = disk.engine();
        let engine = engine.map_err(|e| CommitError::NotWritten(e.to_string()))?;
        let mut group = engine.group(16);
        fill(&mut group);
        match group.commit(durable) {
            Ok(()) => {
                enter(&mut self.shared.known().catalog);
                Ok(())
            }
            Err(error) => {
                self.broke(error.clone().into_why());
                Err(error)
            }
        }
    }

    /// Opens the database again after a failure, if it is time and the disk takes writes.
    fn revive(&self) -> Result<(), String> {
        let health = self.shared.known().health.clone();
        match health {
            Health::Ready => return Ok(()),
            Health::Closed => return Err("it is closed".to_owned()),
            Health::Refusing { why, retry_at } => {
                if retry_at.is_none_or(|at| self.now < at) {
                    return Err(why);
                }
            }
        }
        self.reopen().inspect_err(|why| self.broke(why.clone()))
    }

    fn reopen(&self) -> Result<(), String> {
        // Before anything is closed: readers keep the database they have for as long as nothing is gained.
        let probed = self.shared.disk().folder.as_ref().map(|f| f.probe(PROBE));
        probed
            .unwrap_or(Ok(()))
            .map_err(|e| format!("the disk takes no writes: {e}"))?;

        let mut disk = self
            .shared
            .disk
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let disk = &mut *disk;
        let Some(folder) = &disk.folder else {
            return Err("it is closed".to_owned());
        };
        disk.engine = None;
        let engine = open_engine(folder, &self.shared.config).map_err(|e| e.to_string())?;
        // From here on readers have it, whatever becomes of the rest.
        let engine = disk.engine.insert(engine);
        engine.settle().map_err(CommitError::into_why)?;
        let catalog = load::load(engine, &self.shared.config.limits);
        let catalog = catalog.map_err(LoadError::into_why)?;
        let mut known = self.shared.known();
        known.catalog = catalog;
        known.health = Health::Ready;
        known.in_doubt.clear();
        tracing::info!("the store takes writes again");
        Ok(())
    }
}

impl Shared {
    /// Waits for the turn to write. Fails where the store takes no writes.
    pub(super) fn turn(&self, now: Instant) -> Result<Turn<'_>, String> {
        let turn = Turn {
            shared: self,
            now,
            _turn: self.turn.lock().unwrap_or_else(PoisonError::into_inner),
        };
        turn.revive()?;
        Ok(turn)
    }

    pub(super) fn turn_or_refuse(&self, now: Instant) -> Result<Turn<'_>, StoreError> {
        self.turn(now).map_err(StoreError::Refuses)
    }
}
