async fn page(&self, number: u32, (_, mut depth): (u8, u8)) -> Page {
    my::cacheme::__private::memoize(
            ::core::option::Option::Some(&self.cacheme),
            PageNode(self.site, number),
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
            |outcome: &Page| {
                #[allow(unused_imports)]
                use my::cacheme::__private::{TextByDebug as _, TextByDisplay as _};
                my::cacheme::__private::ErrorText(outcome).text()
            },
        )
        .await
}
