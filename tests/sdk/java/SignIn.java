import java.util.function.Supplier;
import phonepass.ApiClient;
import phonepass.ApiException;
import phonepass.api.AuthorizationsApi;
import phonepass.api.SmsCodesApi;
import phonepass.model.SmsCodeRequest;
import phonepass.model.SmsCodeSignIn;
import phonepass.model.TokenSet;

final class SignIn {
    static TokenSet signIn(ApiClient client, String mobile, Supplier<String> askForCode) throws ApiException {
        new SmsCodesApi(client).sendSmsCode(new SmsCodeRequest().mobile(mobile));
        var proof = new SmsCodeSignIn().mobile(mobile).code(askForCode.get());
        return new AuthorizationsApi(client).signInWithSmsCode(proof, null).getData();
    }
}
