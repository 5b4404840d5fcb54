async fn page(&self, number: u32, (_, mut depth): (u8, u8)) -> Page {
    my::cacheme::__private::memoize::<
        _,
        Page,
        _,
    >(
            ::core::option::Option::Some(&self.cacheme),
            PageNode(self.site, number),
            async move || -> Page {
                depth += 1;
                self.render(number, depth).await
            },
        )
        .await
}
