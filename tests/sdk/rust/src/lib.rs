#![deny(warnings)]

progenitor::generate_api!(spec = "phonepass.json", interface = Builder);

pub mod sign_in;
