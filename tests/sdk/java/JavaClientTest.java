// Does the client that openapi-generator makes for Java (java.net.http, Jackson) take a user from the SMS code to the
// sign-out, and does it say in its own types what went wrong?
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import phonepass.ApiClient;
import phonepass.ApiException;
import phonepass.api.AuthorizationsApi;
import phonepass.api.SmsCodesApi;
import phonepass.api.UserApi;
import phonepass.model.ErrorBody;
import phonepass.model.SmsCodePurpose;
import phonepass.model.SmsCodeRequest;
import phonepass.model.SmsCodeSignIn;

final class JavaClientTest {
    private static final String SERVER = System.getenv("PHONEPASS_URL");

    private final ApiClient client = new ApiClient();
    private final AuthorizationsApi authorizations;
    private final UserApi users;
    private final String mobile = "13" + ThreadLocalRandom.current().nextInt(100_000_000, 1_000_000_000);

    JavaClientTest() {
        client.updateBaseUri(SERVER);
        authorizations = new AuthorizationsApi(client);
        users = new UserApi(client);
    }

    @Test
    void aUserSignsInStaysSignedInAndSignsOut() throws ApiException {
        var tokens = SignIn.signIn(client, mobile, this::lastCode);
        assertTrue(tokens.getIsNewUser());

        var user = users.getCurrentUser(bearer(tokens.getToken())).getData();
        assertEquals(tokens.getUserId(), user.getId());
        assertEquals(mobile, user.getMobile());

        var fresh = authorizations.refreshToken(null, bearer(tokens.getRefreshToken())).getData();
        assertEquals(tokens.getUserId(), fresh.getUserId());
        assertNotEquals(tokens.getRefreshToken(), fresh.getRefreshToken());
        assertFalse(fresh.getIsNewUser());

        assertEquals(204, authorizations.signOutWithHttpInfo(bearer(fresh.getToken())).getStatusCode());

        var refused = assertThrows(ApiException.class, () -> users.getCurrentUser(bearer(fresh.getToken())));
        assertEquals(401, refused.getCode());
        assertEquals("session_revoked", error(refused).getCode());
    }

    @Test
    void aWrongCodeIsRefusedWithTheTriesThatAreLeft() throws ApiException {
        new SmsCodesApi(client).sendSmsCode(new SmsCodeRequest().mobile(mobile).purpose(SmsCodePurpose.LOGIN));
        var wrong = new SmsCodeSignIn().mobile(mobile).code(lastCode().equals("000000") ? "000001" : "000000");
        var refused = assertThrows(ApiException.class, () -> authorizations.signInWithSmsCode(wrong, null));
        assertEquals(400, refused.getCode());
        assertEquals("sms_code_invalid", error(refused).getCode());
        assertEquals(4, error(refused).getAttemptsLeft());
    }

    private ErrorBody error(ApiException refused) {
        return client.getObjectMapper().readValue(refused.getResponseBody(), ErrorBody.class);
    }

    private static Map<String, String> bearer(String token) {
        return Map.of("Authorization", "Bearer " + token);
    }

    private String lastCode() {
        var inbox = URI.create(SERVER + "/dev/sms");
        var request = HttpRequest.newBuilder(inbox).header("Accept", "application/json").build();
        try {
            var answer = HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body();
            return StreamSupport.stream(client.getObjectMapper().readTree(answer).spliterator(), false)
                    .filter(message -> message.get("mobile").asString().equals(mobile))
                    .findFirst().orElseThrow().get("code").asString();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        } catch (InterruptedException failure) {
            throw new IllegalStateException(failure);
        }
    }
}
