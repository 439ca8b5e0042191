//! Picture codes: `/app/v1_0/image_codes`, and the picture for every family.

use poem::{IntoResponse, Response, Result};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::Path,
    payload::{Binary, Json, Payload},
    registry::{MetaMediaType, MetaResponses, Registry},
    types::Type,
};

use super::{
    Section,
    context::RequestContext,
    envelope::ClassicOutcome,
    failure::{Failure, codes, failures, named},
    form::Form,
    problem::Problem,
};
use crate::auth::Auth;

failures! {
    GetImageCode: RequestInvalid;
}

/// A picture.
#[derive(ApiResponse)]
pub enum Picture {
    /// A JPEG of 200 by 80 pixels, 46 wider for each character beyond 4. Asking again under the same id replaces it.
    #[oai(status = 200, content_type = "image/jpeg")]
    Ok(Binary<Vec<u8>>),
}

/// A picture of the classic families, whose refusals are a 200 as well, of another media type.
pub struct ClassicPicture(Picture);

impl IntoResponse for ClassicPicture {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl ApiResponse for ClassicPicture {
    fn meta() -> MetaResponses {
        let mut meta = Picture::meta();
        for response in &mut meta.responses {
            response.description = named(codes::<GetImageCode>());
            let content_type = Json::<ClassicOutcome>::CONTENT_TYPE;
            response.content.push(MetaMediaType { content_type, schema: ClassicOutcome::schema_ref() });
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Picture::register(registry);
        ClassicOutcome::register(registry);
    }
}

/// Draws a picture for a page of the classic families.
pub async fn classic_picture(
    auth: &Auth,
    context: &RequestContext,
    name: &'static str,
    id: &str,
) -> Result<ClassicPicture, Problem> {
    picture(auth, context, name, id).await.map(ClassicPicture)
}

/// Draws a picture under the client's id.
async fn picture(auth: &Auth, context: &RequestContext, name: &'static str, id: &str) -> Result<Picture, Problem> {
    let mut form = Form::new(context.family);
    let Some(id) = form.image_code_id(name, id) else { return Err(form.problem()) };
    Ok(Picture::Ok(Binary(auth.image_codes.create(&id, &context.origin()).await?)))
}

/// The section.
pub struct ImageCodes(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/image_codes", tag = "Section::ImageCodes")]
impl ImageCodes {
    /// Get a picture code
    ///
    /// A picture of characters to type (4, unless the service is set to 4 to 8), for `send_sms_code` after
    /// `image_code_required`. Valid for 300 seconds, unless the service is set otherwise, and for one try.
    #[oai(path = "/:id", method = "get", operation_id = "get_image_code")]
    async fn get_image_code(
        &self,
        context: &RequestContext,
        /// Any id that the client makes up: 1 to 64 letters, digits, `_` or `-`; a UUID serves well.
        id: Path<String>,
    ) -> Result<Picture, Failure<GetImageCode>> {
        Ok(picture(&self.0, context, "id", &id.0).await?)
    }
}
