"""Can a Python program use every operation, sign a user in and out, and read an error's code, all with checked types?"""

import json
import os
import pkgutil
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from phone import Phone
from sign_in import sign_in

import phonepass_client.api
from phonepass_client import AuthenticatedClient, Client
from phonepass_client.api.authorizations import refresh_token, sign_in_with_sms_code, sign_out
from phonepass_client.api.sms_codes import send_login_sms_code
from phonepass_client.api.user import get_current_user
from phonepass_client.models import ErrorBody, SmsCodeSignIn, TokenSetEnvelope, UserEnvelope

SERVER = os.environ["PHONEPASS_URL"]


@pytest.fixture
def phone() -> Phone:
    return Phone(SERVER)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(base_url=SERVER, raise_on_unexpected_status=True) as client:
        yield client


def signed_in(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=SERVER, token=token, raise_on_unexpected_status=True)


def test_a_new_user_signs_in_refreshes_and_signs_out(client: Client, phone: Phone) -> None:
    tokens = sign_in(client, phone.mobile, phone.read_code)
    assert tokens.is_new_user

    with signed_in(tokens.refresh_token) as refreshing:
        refreshed = refresh_token.sync(client=refreshing)
    assert isinstance(refreshed, TokenSetEnvelope)
    assert refreshed.data.user_id == tokens.user_id

    with signed_in(refreshed.data.token) as app:
        user = get_current_user.sync(client=app)
        assert isinstance(user, UserEnvelope)
        assert user.data.id == tokens.user_id
        assert user.data.mobile == phone.mobile

        assert sign_out.sync_detailed(client=app).status_code == HTTPStatus.NO_CONTENT
        refused = get_current_user.sync_detailed(client=app)
    assert refused.status_code == HTTPStatus.UNAUTHORIZED
    assert isinstance(refused.parsed, ErrorBody)
    assert refused.parsed.code == "session_revoked"


def test_a_wrong_code_is_refused_with_the_tries_that_are_left(client: Client, phone: Phone) -> None:
    send_login_sms_code.sync(phone.mobile, client=client)
    wrong = "000000" if phone.read_code() != "000000" else "111111"
    refused = sign_in_with_sms_code.sync(client=client, body=SmsCodeSignIn(mobile=phone.mobile, code=wrong))
    assert isinstance(refused, ErrorBody)
    assert (refused.code, refused.attempts_left) == ("sms_code_invalid", 4)


def test_every_operation_of_the_document_has_a_function() -> None:
    paths = json.loads(Path(os.environ["OPENAPI"]).read_text(encoding="utf-8"))["paths"]
    operations = [operation["operationId"] for path in paths.values() for operation in path.values()]
    modules = pkgutil.walk_packages(phonepass_client.api.__path__, "phonepass_client.api.")
    functions = [module.name.split(".")[-1] for module in modules if not module.ispkg]
    assert sorted(functions) == sorted(operations)
