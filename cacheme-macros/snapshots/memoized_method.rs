async fn page(&self, number: u32, (_, mut depth): (u8, u8)) -> Page {
    let node = my::cacheme::__private::node(PageNode(self.site, number));
    let sharing = {
        #[allow(unused_imports)]
        use my::cacheme::__private::{
            NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _,
        };
        my::cacheme::__private::outcome_of::<_, Page>(&node)
            .sharing()
            .with_text(|outcome: &Page| {
                my::cacheme::__private::ErrorText(outcome).text()
            })
    };
    let missed = match my::cacheme::__private::look(
        ::core::option::Option::Some(&self.cacheme),
        &node,
        sharing,
    ) {
        my::cacheme::__private::Looked::Hit(outcome) => return outcome,
        my::cacheme::__private::Looked::Missed(missed) => missed,
    };
    missed
        .load(
            &node,
            move || async move {
                if let ::core::option::Option::Some(output) = ::core::option::Option::<
                    Page,
                >::None {
                    return output;
                }
                {
                    depth += 1;
                    self.render(number, depth).await
                }
            },
            sharing,
            |_| false,
        )
        .await
}
