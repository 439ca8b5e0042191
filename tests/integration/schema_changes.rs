//! Migrations of a newer version under a running service, and before a start.

use futures_util::future::join_all;

use crate::support::{
    MOBILE, TestApp,
    backends::{Backends, Stores},
    expect_goes_on,
    flows::{FLAGS, all_work},
    on_every_backend,
    process::Process,
};

/// What a newer version adds, as `migrations/README.md` allows it.
const EXPANSION: [&str; 3] = [
    "ALTER TABLE users ADD COLUMN nickname text",
    "ALTER TABLE sessions ADD COLUMN device text NOT NULL DEFAULT ''",
    "ALTER TABLE settings ADD COLUMN note text",
];

const NEWER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'of a newer version', true, '', 0)";

async fn migrate(stores: &Stores) -> crate::support::process::Finished {
    Process::run(stores.folder.path(), &[("DATABASE_URL", &stores.database_url())], &["migrate"]).await
}

on_every_backend! {
    async fn columns_that_a_newer_version_adds_break_neither_running_instances_nor_starts(backends: Backends) {
        let flags = [&FLAGS[..], &["--public-url=https://id.example.com"]].concat();
        let app = TestApp::start_with(backends, &flags).await;
        // Every statement has been prepared by then.
        all_work(&app, "13811111").await;
        let before = app.sign_in(MOBILE).await;
        for (number, sql) in EXPANSION.into_iter().enumerate() {
            app.stores.execute(sql).await;
            for answer in join_all((0..20).map(|_| app.user(&before.access))).await {
                answer.expect(200);
            }
            all_work(&app, &format!("1382222{number}")).await;
        }
        expect_goes_on(&app, &before).await;

        app.stores.execute(NEWER).await;
        let other = TestApp::start_on(app.stores.clone(), &flags).await;
        all_work(&other, "13833333").await;
        expect_goes_on(&other, &before).await;
        all_work(&app, "13844444").await;
        migrate(&app.stores).await.expect_success();
    }
}

on_every_backend! {
    async fn an_unknown_older_migration_stops_a_start(backends: Backends) {
        let stores = Stores::empty(backends).await;
        migrate(&stores).await.expect_success();
        let older = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (0, 'of another program', true, '', 0)";
        stores.execute(older).await;
        let refused = migrate(&stores).await;
        let told = refused.expect_wrong_settings();
        assert!(told.starts_with("DATABASE_URL=(hidden): migration 0 "), "{told}");
    }
}

/// Changes after which PostgreSQL refuses every statement that was prepared before.
const OUTDATING: [&str; 4] = [
    "ALTER TABLE users ALTER COLUMN name TYPE varchar(64)",
    "ALTER TABLE sessions ALTER COLUMN user_agent TYPE varchar(512)",
    "ALTER TABLE users ALTER COLUMN avatar_url TYPE varchar(1024)",
    "ALTER TABLE sessions ALTER COLUMN amr TYPE varchar(16)",
];

async fn outdated_plans_are_made_again(statements: &str) {
    let flags = [&FLAGS[..], &[statements]].concat();
    let app = TestApp::start_with(Backends::POSTGRESQL_AND_IN_PROCESS, &flags).await;
    all_work(&app, "13811111").await;
    let user = app.sign_in(MOBILE).await;
    for (number, sql) in OUTDATING.into_iter().enumerate() {
        // As many at once as there are connections, so that each has its plans, before and after.
        for round in 0..2 {
            let users = join_all((0..40).map(|_| app.user(&user.access)));
            let lists = join_all((0..40).map(|_| app.get_as("/app/v1_0/user/sessions", &user.access)));
            let refreshed = join_all((0..40).map(|_| app.refresh(&user.refresh)));
            let (users, lists, refreshed) = tokio::join!(users, lists, refreshed);
            users.iter().chain(&lists).for_each(|answer| drop(answer.expect(200)));
            refreshed.iter().for_each(|answer| drop(answer.expect(201)));
            if round == 0 {
                app.stores.execute(sql).await;
            }
        }
        all_work(&app, &format!("1382222{number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_that_a_migration_outdated_are_made_again() {
    outdated_plans_are_made_again("--database-statements=named").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_that_a_migration_outdated_are_made_again_for_unnamed_statements() {
    outdated_plans_are_made_again("--database-statements=unnamed").await;
}
