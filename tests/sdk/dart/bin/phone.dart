import 'dart:convert';
import 'dart:io';
import 'dart:math';

/// A phone of the tests: it has a number that nobody had before and shows the codes that were sent to it.
class Phone {
  Phone(this.server);

  final String server;
  final String mobile = '1${3 + Random().nextInt(7)}${Random().nextInt(1000000000).toString().padLeft(9, '0')}';

  Future<String> readCode() async {
    final client = HttpClient();
    final request = await client.getUrl(Uri.parse('$server/dev/sms'));
    request.headers.set(HttpHeaders.acceptHeader, 'application/json');
    final page = await utf8.decodeStream(await request.close());
    client.close();
    final messages = (jsonDecode(page) as List<dynamic>).cast<Map<String, dynamic>>();
    return messages.firstWhere((message) => message['mobile'] == mobile)['code'] as String;
  }
}
