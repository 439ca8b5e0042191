//! In which language are messages written?

use clap::ValueEnum;

/// Chinese unless the client prefers English.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Language {
    /// Reads `Accept-Language`: English if it is the first choice.
    pub fn from_header(accept_language: Option<&[u8]>) -> Self {
        let english = accept_language
            .and_then(|header| header.trim_ascii_start().get(..2))
            .is_some_and(|start| start.eq_ignore_ascii_case(b"en"));
        if english { Self::En } else { Self::Zh }
    }

    /// Reads `lang` of a query: English unless it asks for Chinese.
    pub fn from_query(query: Option<&str>) -> Self {
        let chinese = query.is_some_and(|query| query.split('&').any(|pair| pair == "lang=zh"));
        if chinese { Self::Zh } else { Self::En }
    }

    /// The one of two texts that is in this language.
    pub fn choose<'a>(self, zh: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }
}

/// A message in both languages.
#[derive(Clone, Debug)]
pub struct Text {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Text {
    /// Both texts.
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { zh: zh.into(), en: en.into() }
    }

    /// The text in a language.
    pub fn in_language(&self, language: Language) -> &str {
        language.choose(&self.zh, &self.en)
    }
}
