/// Kept.
#[tracing::instrument]
pub(crate) async fn get_user_info<T: Table>(
    db: &mut PgPool<T>,
    user_id: i64,
) -> Result<UserInfo, DbError>
where
    T: Send,
{
    let node = ::cacheme::__private::node(UserInfoNode { user_id });
    let sharing = {
        #[allow(unused_imports)]
        use ::cacheme::__private::{
            NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _,
        };
        ::cacheme::__private::outcome_of::<_, Result<UserInfo, DbError>>(&node)
            .sharing()
            .with_text(|outcome: &Result<UserInfo, DbError>| {
                ::cacheme::__private::ErrorText(outcome).text()
            })
    };
    let missed = match ::cacheme::__private::look(
        ::core::option::Option::None,
        &node,
        sharing,
    ) {
        ::cacheme::__private::Looked::Hit(outcome) => return outcome,
        ::cacheme::__private::Looked::Missed(missed) => missed,
    };
    missed
        .load(
            &node,
            move || async move {
                if let ::core::option::Option::Some(output) = ::core::option::Option::<
                    Result<UserInfo, DbError>,
                >::None {
                    return output;
                }
                { db.query(user_id).await?.try_into() }
            },
            sharing,
            |_| false,
        )
        .await
}
