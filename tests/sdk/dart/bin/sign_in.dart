import 'package:phonepass_client/api.dart';

Future<TokenSet> signIn(ApiClient client, String mobile, Future<String> Function() readCode) async {
  await SMSCodesApi(client).sendSmsCode(SmsCodeRequest(mobile: mobile));
  final answer = SmsCodeSignIn(mobile: mobile, code: await readCode());
  return (await AuthorizationsApi(client).signInWithSmsCode(answer))!.data;
}
