/// Kept.
#[tracing::instrument]
pub(crate) async fn get_user_info<T: Table>(
    db: &mut PgPool<T>,
    user_id: i64,
) -> Result<UserInfo, DbError>
where
    T: Send,
{
    ::cacheme::__private::memoize::<
        _,
        Result<UserInfo, DbError>,
        _,
    >(
            ::core::option::Option::None,
            UserInfoNode { user_id },
            async move || -> Result<UserInfo, DbError> {
                db.query(user_id).await?.try_into()
            },
        )
        .await
}
