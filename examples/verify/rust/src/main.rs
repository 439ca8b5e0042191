//! Who is calling? `ISSUER=https://id.example.com cargo run TOKEN` prints the user's id, or says why not.

use std::{env, error::Error, process::ExitCode};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};

#[derive(serde::Deserialize)]
struct Claims {
    sub: String,
}

struct Verifier {
    issuer: String,
    keys: JwkSet,
}

impl Verifier {
    fn verify(&mut self, token: &str) -> Result<String, Box<dyn Error>> {
        let header = decode_header(token)?;
        if header.typ.as_deref() != Some("at+jwt") {
            return Err("not an access token".into());
        }
        let kid = header.kid.ok_or("no key is named")?;
        if self.keys.find(&kid).is_none() {
            let url = format!("{}/.well-known/jwks.json", self.issuer);
            self.keys = ureq::get(url).call()?.body_mut().read_json()?;
        }
        let key = self.keys.find(&kid).ok_or("the key is unknown")?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = 0; // instead of a minute
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&["phonepass"]);
        validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
        Ok(decode::<Claims>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims.sub)
    }
}

fn main() -> ExitCode {
    let mut verifier = Verifier { issuer: env::var("ISSUER").unwrap(), keys: JwkSet { keys: Vec::new() } };
    match verifier.verify(&env::args().nth(1).unwrap()) {
        Ok(user_id) => {
            println!("{user_id}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::FAILURE
        }
    }
}
