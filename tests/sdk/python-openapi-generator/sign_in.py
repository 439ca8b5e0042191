from collections.abc import Callable

from phonepass_client import ApiClient, AuthorizationsApi, SMSCodesApi, SmsCodeRequest, SmsCodeSignIn, TokenSet


def sign_in(client: ApiClient, mobile: str, read_code: Callable[[], str]) -> TokenSet:
    SMSCodesApi(client).send_sms_code(SmsCodeRequest(mobile=mobile))
    answer = SmsCodeSignIn(mobile=mobile, code=read_code())
    return AuthorizationsApi(client).sign_in_with_sms_code(answer).data
