//! The contract of a storage over a database, which is alike for all and so written once.

/// Makes `$storage` a [`RemoteStorage`](crate::RemoteStorage): each operation enters (the storage is open, its table is there, its upkeep
/// runs), then `inner` does the work. `inner` has `location`, `gate`, `ready` and `upkeep`, and the operations by their names.
///
/// `with limit` says that `inner` has `set_timeout` too, and `with bus` that it has `publish` and `listen`.
macro_rules! remote_storage {
    ($storage:ty) => {
        $crate::remote::database::remote_storage!(@ $storage, $crate::contract::remote::Capabilities::none().with_renewals(),);
    };
    ($storage:ty, with limit) => {
        $crate::remote::database::remote_storage!(@ $storage, $crate::contract::remote::Capabilities::none().with_renewals(),
            fn set_timeout(&self, timeout: std::time::Duration) {
                self.inner.set_timeout(timeout);
            }
        );
    };
    ($storage:ty, with limit, with bus) => {
        $crate::remote::database::remote_storage!(@ $storage, $crate::contract::remote::Capabilities::none().with_renewals().with_bus(),
            fn set_timeout(&self, timeout: std::time::Duration) {
                self.inner.set_timeout(timeout);
            }

            async fn publish(&self, messages: &[::bytes::Bytes]) -> $crate::error::Result<()> {
                let _pass = self.enter().await?;
                self.inner.publish(messages).await
            }

            async fn listen(&self, hear: &mut (dyn for<'a> FnMut($crate::contract::remote::Heard<'a>) + Send)) -> $crate::error::Error {
                let listening = self.inner.listen(hear);
                self.inner.gate.while_open(&self.inner.location, listening).await
            }
        );
    };
    (@ $storage:ty, $capabilities:expr, $($more:tt)*) => {
        impl $storage {
            /// Begins an operation: not closed, table there, upkeep running.
            async fn enter(&self) -> $crate::error::Result<$crate::remote::database::Pass<'_>> {
                let pass = self.inner.gate.enter(&self.inner.location).await?;
                self.inner.ready.ensure(|| self.inner.prepare()).await?;
                self.inner.upkeep.ensure(&self.inner);
                Ok(pass)
            }
        }

        #[async_trait::async_trait]
        impl $crate::contract::remote::RemoteStorage for $storage {
            fn location(&self) -> String {
                self.inner.location.clone()
            }

            fn capabilities(&self) -> $crate::contract::remote::Capabilities {
                $capabilities
            }

            async fn connect(&self) -> $crate::error::Result<()> {
                self.enter().await.map(drop)
            }

            fn now_ms(&self) -> u64 {
                self.inner.now_ms()
            }

            async fn get(&self, keys: &[&[u8]]) -> $crate::error::Result<Vec<Option<::bytes::Bytes>>> {
                let _pass = self.enter().await?;
                self.inner.get(keys).await
            }

            async fn set(&self, entries: &[$crate::contract::remote::RemoteEntry<'_>]) -> $crate::error::Result<()> {
                let _pass = self.enter().await?;
                self.inner.set(entries).await
            }

            async fn remove(&self, keys: &[&[u8]]) -> $crate::error::Result<()> {
                let _pass = self.enter().await?;
                self.inner.remove(keys).await
            }

            async fn clear(&self, prefix: &[u8]) -> $crate::error::Result<()> {
                let _pass = self.enter().await?;
                self.inner.clear(prefix).await
            }

            async fn acquire(
                &self,
                keys: &[&[u8]],
                request: &$crate::contract::lease::Acquire,
            ) -> $crate::error::Result<Vec<$crate::contract::lease::Acquired>> {
                let _pass = self.enter().await?;
                self.inner.acquire(keys, request).await
            }

            async fn fill(
                &self,
                entries: &[$crate::contract::remote::RemoteEntry<'_>],
                token: $crate::contract::lease::LeaseToken,
            ) -> $crate::error::Result<Vec<$crate::contract::lease::Filled>> {
                let _pass = self.enter().await?;
                self.inner.fill(entries, token).await
            }

            async fn release(&self, keys: &[&[u8]], token: $crate::contract::lease::LeaseToken) -> $crate::error::Result<()> {
                let _pass = self.enter().await?;
                self.inner.release(keys, token).await
            }

            async fn renew(
                &self,
                keys: &[&[u8]],
                token: $crate::contract::lease::LeaseToken,
                time: std::time::Duration,
            ) -> $crate::error::Result<()> {
                let _pass = self.enter().await?;
                self.inner.renew(keys, token, time).await
            }

            $($more)*

            /// Waits for calls under way and closes the connections, unless they are the application's.
            async fn close(&self) -> $crate::error::Result<()> {
                self.inner.upkeep.stop();
                self.inner.gate.close().await;
                self.inner.disconnect().await
            }
        }
    };
}

pub(crate) use remote_storage;
