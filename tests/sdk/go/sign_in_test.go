// Can a Go program sign a user in, act for the user and sign out again, with the client that oapi-codegen generates and
// with typed errors all the way?
package app

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"

	"phonepass-client/phonepass"
)

var url = os.Getenv("PHONEPASS_URL")

func TestAUserSignsInRefreshesAndSignsOut(t *testing.T) {
	client, mobile := newClient(t), anyMobile()

	signedIn, err := SignIn(t.Context(), client, mobile, func() string { return codeSentTo(t, mobile) })
	if err != nil {
		t.Fatal(err)
	}
	if signedIn.JSON201 == nil {
		t.Fatalf("not signed in: %s", signedIn.Body)
	}
	tokens := signedIn.JSON201.Data
	if !tokens.IsNewUser || tokens.UserID.Version() != 7 || tokens.TokenType != "Bearer" {
		t.Errorf("unexpected token set: %+v", tokens)
	}

	user, err := client.GetCurrentUserWithResponse(t.Context(), bearer(tokens.Token))
	if err != nil {
		t.Fatal(err)
	}
	if user.JSON200 == nil {
		t.Fatalf("no user: %s", user.Body)
	}
	if user.JSON200.Data.ID != tokens.UserID || user.JSON200.Data.Mobile != mobile {
		t.Errorf("unexpected user: %+v", user.JSON200.Data)
	}

	refreshed, err := client.RefreshTokenWithResponse(t.Context(), phonepass.RefreshTokenJSONRequestBody{}, bearer(tokens.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	if refreshed.JSON201 == nil {
		t.Fatalf("not refreshed: %s", refreshed.Body)
	}
	next := refreshed.JSON201.Data
	if next.UserID != tokens.UserID || next.IsNewUser || next.RefreshToken == tokens.RefreshToken {
		t.Errorf("unexpected refreshed token set: %+v", next)
	}

	signedOut, err := client.SignOutWithResponse(t.Context(), bearer(next.Token))
	if err != nil {
		t.Fatal(err)
	}
	if signedOut.StatusCode() != http.StatusNoContent {
		t.Fatalf("not signed out: %s", signedOut.Body)
	}
	refused, err := client.GetCurrentUserWithResponse(t.Context(), bearer(next.Token))
	if err != nil {
		t.Fatal(err)
	}
	if refused.JSON401 == nil || refused.JSON401.Code != "session_revoked" {
		t.Errorf("the token outlives its session: %s", refused.Body)
	}
}

func TestAWrongCodeIsATypedErrorThatCountsTheTriesLeft(t *testing.T) {
	mobile := anyMobile()

	answer, err := SignIn(t.Context(), newClient(t), mobile, func() string { return wrong(codeSentTo(t, mobile)) })
	if err != nil {
		t.Fatal(err)
	}
	if refusal := answer.JSON400; refusal == nil || refusal.Code != "sms_code_invalid" || refusal.AttemptsLeft == nil || *refusal.AttemptsLeft != 4 {
		t.Errorf("unexpected answer: %s", answer.Body)
	}
}

func TestABadMobileGetsNoCode(t *testing.T) {
	sent, err := newClient(t).SendSmsCodeWithResponse(t.Context(), phonepass.SmsCodeRequest{Mobile: "12345"})
	if err != nil {
		t.Fatal(err)
	}
	if sent.JSON400 == nil || sent.JSON400.Code != "mobile_invalid" {
		t.Errorf("unexpected answer: %s", sent.Body)
	}
}

func newClient(t *testing.T) *phonepass.ClientWithResponses {
	client, err := phonepass.NewClientWithResponses(url)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func bearer(token string) phonepass.RequestEditorFn {
	return func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

func anyMobile() string {
	return fmt.Sprintf("1%d%09d", 3+rand.IntN(7), rand.IntN(1_000_000_000))
}

func wrong(code string) string {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

// codeSentTo reads the newest message to the mobile, as its owner would on the phone.
func codeSentTo(t *testing.T, mobile string) string {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/dev/sms", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var messages []struct{ Mobile, Code string }
	if err := json.NewDecoder(response.Body).Decode(&messages); err != nil {
		t.Fatal(err)
	}
	for _, message := range messages {
		if message.Mobile == mobile {
			return message.Code
		}
	}
	t.Fatalf("no message to %s", mobile)
	return ""
}
