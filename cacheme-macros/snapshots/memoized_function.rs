/// Kept.
#[tracing::instrument]
pub(crate) async fn get_user_info<T: Table>(
    db: &mut PgPool<T>,
    user_id: i64,
) -> Result<UserInfo, DbError>
where
    T: Send,
{
    ::cacheme::__private::memoize(
            ::core::option::Option::None,
            UserInfoNode { user_id },
            move || async move {
                if let ::core::option::Option::Some(output) = ::core::option::Option::<
                    Result<UserInfo, DbError>,
                >::None {
                    return output;
                }
                { db.query(user_id).await?.try_into() }
            },
            |outcome: &Result<UserInfo, DbError>| {
                #[allow(unused_imports)]
                use ::cacheme::__private::{TextByDebug as _, TextByDisplay as _};
                ::cacheme::__private::ErrorText(outcome).text()
            },
        )
        .await
}
