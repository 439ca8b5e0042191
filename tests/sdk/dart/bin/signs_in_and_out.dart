// Can a Dart program sign a user in and out, and read an error's code?
import 'dart:convert';
import 'dart:io';

import 'package:phonepass_client/api.dart';

import 'phone.dart';
import 'sign_in.dart';

final server = Platform.environment['PHONEPASS_URL']!;

Future<void> main() async {
  await aNewUserSignsInRefreshesAndSignsOut();
  await aWrongCodeIsRefusedWithTheTriesThatAreLeft();
}

ApiClient client([String? token]) => ApiClient(
      basePath: server,
      authentication: token == null ? null : (HttpBearerAuth()..accessToken = token),
    );

Future<void> aNewUserSignsInRefreshesAndSignsOut() async {
  final phone = Phone(server);
  final tokens = await signIn(client(), phone.mobile, phone.readCode);
  assert(tokens.isNewUser);

  final refreshed = (await AuthorizationsApi(client(tokens.refreshToken)).refreshToken())!.data;
  assert(refreshed.userId == tokens.userId);

  final app = client(refreshed.token);
  final user = (await UserApi(app).getCurrentUser())!.data;
  assert(user.id == tokens.userId && user.mobile == phone.mobile);

  final signedOut = await AuthorizationsApi(app).signOutWithHttpInfo();
  assert(signedOut.statusCode == HttpStatus.noContent);

  final (status, error) = await refusal(UserApi(app).getCurrentUser);
  assert(status == HttpStatus.unauthorized && error.code == 'session_revoked');
}

Future<void> aWrongCodeIsRefusedWithTheTriesThatAreLeft() async {
  final phone = Phone(server);
  final (status, error) = await refusal(
    () => signIn(client(), phone.mobile, () async => await phone.readCode() == '000000' ? '111111' : '000000'),
  );
  assert(status == HttpStatus.badRequest && error.code == 'sms_code_invalid' && error.attemptsLeft == 4);
}

Future<(int, ErrorBody)> refusal(Future<Object?> Function() call) async {
  try {
    await call();
  } on ApiException catch (exception) {
    return (exception.code, ErrorBody.fromJson(jsonDecode(exception.message!))!);
  }
  throw StateError('the service accepted what it should refuse');
}
