"""Can a Python program use every operation, sign a user in and out, and read an error's code, all with checked types?"""

import json
import os
from pathlib import Path

import pytest
from phone import Phone
from sign_in import sign_in

import phonepass_client
from phonepass_client import ApiClient, ApiException, AuthorizationsApi, Configuration, ErrorBody, UserApi

SERVER = os.environ["PHONEPASS_URL"]


@pytest.fixture
def phone() -> Phone:
    return Phone(SERVER)


def client(token: str | None = None) -> ApiClient:
    return ApiClient(Configuration(host=SERVER, access_token=token))


def error_of(refusal: pytest.ExceptionInfo[ApiException]) -> ErrorBody:
    error = refusal.value.data
    assert isinstance(error, ErrorBody)
    return error


def test_a_new_user_signs_in_refreshes_and_signs_out(phone: Phone) -> None:
    tokens = sign_in(client(), phone.mobile, phone.read_code)
    assert tokens.is_new_user

    refreshed = AuthorizationsApi(client(tokens.refresh_token)).refresh_token().data
    assert refreshed.user_id == tokens.user_id

    app = client(refreshed.token)
    user = UserApi(app).get_current_user().data
    assert (user.id, user.mobile) == (tokens.user_id, phone.mobile)

    assert AuthorizationsApi(app).sign_out_with_http_info().status_code == 204
    with pytest.raises(ApiException) as refusal:
        UserApi(app).get_current_user()
    assert refusal.value.status == 401
    assert error_of(refusal).code == "session_revoked"


def test_a_wrong_code_is_refused_with_the_tries_that_are_left(phone: Phone) -> None:
    with pytest.raises(ApiException) as refusal:
        sign_in(client(), phone.mobile, lambda: "000000" if phone.read_code() != "000000" else "111111")
    error = error_of(refusal)
    assert (error.code, error.attempts_left) == ("sms_code_invalid", 4)


def test_every_operation_of_the_document_has_a_method() -> None:
    paths = json.loads(Path(os.environ["OPENAPI"]).read_text(encoding="utf-8"))["paths"]
    operations = {operation["operationId"] for path in paths.values() for operation in path.values()}
    apis = [getattr(phonepass_client, name) for name in phonepass_client.__all__ if name.endswith("Api")]
    assert operations <= {method for api in apis for method in vars(api)}
