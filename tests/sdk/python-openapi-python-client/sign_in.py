from collections.abc import Callable

from phonepass_client import Client
from phonepass_client.api.authorizations import sign_in_with_sms_code
from phonepass_client.api.sms_codes import send_login_sms_code
from phonepass_client.models import SmsCodeSignIn, TokenSet, TokenSetEnvelope


def sign_in(client: Client, mobile: str, read_code: Callable[[], str]) -> TokenSet:
    send_login_sms_code.sync(mobile, client=client)
    answer = sign_in_with_sms_code.sync(client=client, body=SmsCodeSignIn(mobile=mobile, code=read_code()))
    if not isinstance(answer, TokenSetEnvelope):
        raise RuntimeError(f"not signed in: {answer}")
    return answer.data
